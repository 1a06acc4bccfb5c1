"""Finding faces: detector and landmarks, their geometry, cuts by them."""
