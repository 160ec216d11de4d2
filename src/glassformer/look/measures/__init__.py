"""Numbers, from models and arrays: nothing here draws."""
