"""The subcommands of ``auxtune``, one file each: thin, and loading what is heavy only when they run."""
