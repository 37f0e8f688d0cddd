"""What people read: cards, tables and pictures, functions of `StreamResults` alone."""
