"""What a model's predictions are worth: scores, intervals, figures, pages."""
