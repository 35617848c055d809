"""How things are told apart in pictures."""

MARKS = "osD^vP*Xph<>"
# Okabe and Ito's colours, which colour-blind people tell apart.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#000000")
