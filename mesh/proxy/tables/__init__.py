"""What the proxy holds of its configuration. In: xDS resources. Out: frozen lookup tables; protobuf ends here."""
