"""The colours of charts, tables and the theme."""

# Okabe and Ito's colours, safe for colour-blind readers; their yellow and light blue are darkened, or too
# light on white
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#4DA6D9", "#8A6D00", "#7F7F7F")
