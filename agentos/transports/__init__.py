"""The ways in: GraphQL over HTTP and over WebSocket, and what every call passes at the door."""
