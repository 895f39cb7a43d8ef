"""Which worker serves which call, and whether a call may go."""
