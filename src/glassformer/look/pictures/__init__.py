"""What draws and writes: figures, tables of marks, and the page that any view becomes."""
