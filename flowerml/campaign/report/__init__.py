"""The report of a campaign: snapshot records, tracking table, console display, HTML page."""
