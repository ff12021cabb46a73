"""From an architecture to measured numbers: the InternImage network, its data and its training; torch is loaded on first use."""
