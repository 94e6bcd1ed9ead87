"""Questions to passages: encoders, dense and sparse search, their fusion, and what is done to questions and ranks."""
