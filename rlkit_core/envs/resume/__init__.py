"""Open episodes: where their seeds come from, what is kept of them, and how a resumed run goes on in their middle."""
