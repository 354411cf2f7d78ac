"""Pure maths: cells, layers, attention, recurrence and loss."""
