"""The batches of a run: pictures as they are trained on, or the kept features of a frozen backbone."""
