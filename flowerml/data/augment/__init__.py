"""The training recipe on uint8 pictures with OpenCV, and the normalisation of its batches on the device."""
