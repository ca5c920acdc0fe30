"""Where the bridge goes: probes, CKA, the two-stage choice, its stability, and joint scores."""
