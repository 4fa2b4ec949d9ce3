"""Features of whole videos, in the published layout.

grid (which pictures make which rows) - reading (files -> arrays) - networks (weights, arrays -> rows) - batches (rows of many
videos at once) - folder (rows -> files) - make (all of them).
"""
