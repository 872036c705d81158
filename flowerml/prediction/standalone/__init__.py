"""The modules that `flowers_classifier.py` is made of: of flowerml they import only `data.decode` and `errors`."""
