"""How a forward pass is run: packed, padded, or ragged; what is probed, what is read."""
