// What the viewer needs of three.js 0.187.0 (MIT, see LICENSE). three.js beside this file is made from it by
//   npm install three@0.187.0 esbuild@0.28.2
//   npx esbuild entry.js --bundle --minify --format=iife --global-name=THREE --legal-comments=inline --outfile=three.js
export {
  AnimationMixer,
  Box3,
  DirectionalLight,
  GridHelper,
  HemisphereLight,
  MeshBasicMaterial,
  MeshNormalMaterial,
  MeshStandardMaterial,
  PerspectiveCamera,
  Scene,
  SkeletonHelper,
  Timer,
  WebGLRenderer,
} from "three";
export { GLTFLoader } from "three/examples/jsm/loaders/GLTFLoader.js";
export { OrbitControls } from "three/examples/jsm/controls/OrbitControls.js";
