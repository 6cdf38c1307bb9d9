from ag3d.core import console
from ag3d.model.export.stage import main

if __name__ == "__main__":
    console.run(main)
