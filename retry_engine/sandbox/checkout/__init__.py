"""What a customer confirms, being there or not: intents, challenges, sessions, bank transfers."""
