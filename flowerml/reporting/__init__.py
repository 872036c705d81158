"""Pages and figures: self-contained HTML and PNG files of runs, data folders and selections."""
