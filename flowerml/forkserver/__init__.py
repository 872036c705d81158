"""Jobs in processes of their own, forked from a server that has imported everything; used by campaigns and sweeps."""
