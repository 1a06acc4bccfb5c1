"""A trained model, a face and a sound: a portrait becomes the same clip that test clips are, and the face is put back."""
