"""The page of a folder of pictures (`flowerml dataset check --html`)."""
