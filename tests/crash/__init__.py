"""Every named crash point of every service: the story completes, once."""
