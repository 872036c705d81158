"""Tables (CSV) that name the files of pictures, with labels or without."""
