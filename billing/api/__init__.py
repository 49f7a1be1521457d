"""JSON doors of money: one's own wallet and earnings, and what staff decide."""
