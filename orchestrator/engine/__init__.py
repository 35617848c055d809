"""Where Ray is: the search algorithm, the worker's Trainable, the loop and its watches."""
