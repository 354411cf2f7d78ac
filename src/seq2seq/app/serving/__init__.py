"""`seq2seq serve`: models behind a JSON interface, and the page that shows what they say and why."""
