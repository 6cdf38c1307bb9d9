from ag3d.cli import main

main()
