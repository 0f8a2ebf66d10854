"""Where rows come from: definitions, and one file per kind of source."""
