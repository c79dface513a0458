"""How a network learns: recipes, epochs, losses, changed pictures, folds, temperatures, the weights it begins with."""
