"""Which pixels, together, made an image classifier say that?"""
