"""Model bridging between frozen biosignal encoders."""
