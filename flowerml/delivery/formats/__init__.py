"""Other formats than `.pth` for delivered weights: ONNX, its int8 forms, OpenVINO, torch.export; each is checked."""
