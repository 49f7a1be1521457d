"""The platform in containers, for development (docker-compose.yml)."""
