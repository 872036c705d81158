"""A cache of decoded pictures, uint8 RGB, so that each is decoded once and not in every epoch.

Pictures to train on are stored with a reduced short edge, views for evaluation as they are before normalisation. What a
run sees is the same whether a picture comes from memory, from disk or is decoded anew.
"""
