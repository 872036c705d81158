"""What a campaign knows of itself: the ledger, the state of its runs, what comes next, promoted configurations."""
