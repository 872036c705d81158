"""The modules that the delivered Python files are made of: of flowerml they import decoding, errors and calibration."""
