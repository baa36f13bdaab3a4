"""What is seen and done from outside the API, under `/_sandbox`."""
