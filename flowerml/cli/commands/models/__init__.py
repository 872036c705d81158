"""Commands that use and deliver trained models."""
