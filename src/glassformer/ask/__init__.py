"""Use a trained run: fill blanks, go on with texts, score, evaluate, look at attention. Each file asks one thing."""
