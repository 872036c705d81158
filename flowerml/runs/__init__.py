"""One run from settings to artifacts: prepare, train, evaluate, write down."""
