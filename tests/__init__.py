"""Tests: model/, index/ and service/ mirror the rooms; system/ tests the whole; support/ has helpers."""
