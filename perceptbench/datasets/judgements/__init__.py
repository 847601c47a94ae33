"""What a judgement is: protocols, tables as people have them, votes and what becomes of them."""
