"""The groups of settings, one module each: flowerml/settings/declaration.py puts them together."""
