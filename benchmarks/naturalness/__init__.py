"""How natural a picture looks, judged without a reference: NIQE and BRISQUE, evaluated here from published models."""
