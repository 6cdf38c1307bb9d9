// Shows the avatars of the page: a gallery, one of them in 3D with its animations, its pictures and downloads.
"use strict";
(() => {
  const people = JSON.parse(document.getElementById("data").textContent);
  const byId = (id) => document.getElementById(id);
  const canvas = document.querySelector("canvas");
  const files = new Map(); // name: Blob of the .glb
  const avatars = new Map(); // name: { scene, clips, meshes }
  let shown = null; // { name, scene, mixer, actions, playing }
  let wanted = ""; // the person last chosen: loading takes time

  function say(text) {
    byId("message").textContent = text;
  }

  function bytesOf(name) {
    const text = document.querySelector(`script.glb[data-name="${CSS.escape(name)}"]`).textContent;
    return Uint8Array.from(atob(text.trim()), (letter) => letter.charCodeAt(0));
  }

  // ---- the stage

  let renderer = null;
  try {
    renderer = new THREE.WebGLRenderer({ canvas, antialias: true, alpha: true });
  } catch {
    say("This browser cannot draw in 3D (WebGL is off). The pictures and downloads work.");
  }
  const scene = new THREE.Scene();
  const camera = new THREE.PerspectiveCamera(30, 1, 0.05, 50);
  const sun = new THREE.DirectionalLight(0xffffff, 1.6);
  sun.position.set(1.5, 3, 3);
  scene.add(new THREE.HemisphereLight(0xffffff, 0xb9b4ad, 2.0), sun);
  const grid = new THREE.GridHelper(4, 16, 0x8a929c, 0x8a929c);
  grid.material.transparent = true;
  grid.material.opacity = 0.3;
  scene.add(grid);
  const controls = renderer ? new THREE.OrbitControls(camera, canvas) : null;
  if (controls) {
    controls.enableDamping = true;
    controls.autoRotate = true;
    controls.autoRotateSpeed = 2.5;
    controls.minDistance = 0.4;
    controls.maxDistance = 12;
    controls.addEventListener("start", () => {
      byId("turn").checked = controls.autoRotate = false;
    });
  }

  function frameBody(box) {
    const height = box.max.y - box.min.y;
    controls.target.set(0, height / 2, 0);
    camera.position.set(0, height * 0.55, height * 2.35);
    controls.update();
  }

  function resize() {
    const { clientWidth: width, clientHeight: height } = canvas;
    if (!width || !height) return;
    renderer.setPixelRatio(Math.min(window.devicePixelRatio, 2));
    renderer.setSize(width, height, false);
    camera.aspect = width / height;
    camera.updateProjectionMatrix();
  }

  const timer = new THREE.Timer();
  function draw(time) {
    timer.update(time);
    const step = Math.min(timer.getDelta(), 0.1);
    shown?.mixer.update(step);
    controls.update(step);
    renderer.render(scene, camera);
  }

  // ---- looks

  function dress(avatar) {
    const look = document.querySelector("input[name=look]:checked").value;
    for (const mesh of avatar.meshes) {
      const own = mesh.userData.own ?? (mesh.userData.own = mesh.material);
      const wireframe = byId("wires").checked;
      const paint = { map: own.map, vertexColors: own.vertexColors };
      if (mesh.material !== own) mesh.material.dispose();
      if (look === "colours") mesh.material = new THREE.MeshBasicMaterial({ ...paint, wireframe });
      else if (look === "normals") mesh.material = new THREE.MeshNormalMaterial({ wireframe });
      else if (look === "shape") mesh.material = new THREE.MeshStandardMaterial({ color: 0xc9c9c9, roughness: 0.9, wireframe });
      else mesh.material = new THREE.MeshStandardMaterial({ ...paint, roughness: 1, wireframe });
    }
    if (avatar.bones) avatar.bones.visible = byId("bones").checked;
  }

  // ---- avatars

  async function load(name) {
    if (avatars.has(name)) return avatars.get(name);
    const bytes = bytesOf(name);
    const gltf = await new Promise((done, failed) => new THREE.GLTFLoader().parse(bytes.buffer, "", done, failed));
    const meshes = [];
    gltf.scene.traverse((node) => {
      if (!node.isMesh) return;
      node.frustumCulled = false; // an animation moves it out of its resting bounds
      meshes.push(node);
    });
    const avatar = { scene: gltf.scene, clips: gltf.animations, meshes };
    if (meshes.some((mesh) => mesh.isSkinnedMesh)) {
      avatar.bones = new THREE.SkeletonHelper(gltf.scene);
      avatar.bones.material.depthTest = false;
    }
    avatars.set(name, avatar);
    return avatar;
  }

  function leave() {
    if (!shown) return;
    shown.mixer.stopAllAction();
    scene.remove(shown.scene);
    if (shown.bones) scene.remove(shown.bones);
    shown = null;
  }

  function play(name) {
    const next = shown.actions.get(name) ?? null;
    const before = shown.actions.get(shown.playing) ?? null;
    if (next !== before) {
      next?.reset().play();
      if (before && next) before.crossFadeTo(next, 0.3, false);
      else before?.stop();
    }
    shown.playing = name;
    for (const button of byId("animations").querySelectorAll("button"))
      button.setAttribute("aria-pressed", String(button.dataset.name === name));
  }

  function press(text, name, action) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = text;
    button.dataset.name = name;
    button.addEventListener("click", action);
    byId("animations").append(button);
  }

  async function stage(person) {
    leave();
    for (const old of byId("animations").querySelectorAll("button")) old.remove();
    if (!renderer) return;
    if (!person.rigged) return say("No 3D file was made of this person (see export.number in the configuration).");
    say("Loading…");
    const avatar = await load(person.name);
    if (wanted !== person.name) return;
    const mixer = new THREE.AnimationMixer(avatar.scene);
    const actions = new Map(avatar.clips.map((clip) => [clip.name, mixer.clipAction(clip)]));
    shown = { ...avatar, name: person.name, mixer, actions, playing: "" };
    scene.add(avatar.scene);
    if (avatar.bones) scene.add(avatar.bones);
    dress(shown);
    const box = new THREE.Box3().setFromObject(avatar.scene);
    frameBody(box);
    press("still", "", () => play(""));
    for (const clip of avatar.clips) press(clip.name, clip.name, () => play(clip.name));
    play(avatar.clips[0]?.name ?? "");
    const count = (what) => avatar.meshes.reduce((sum, mesh) => sum + what(mesh.geometry), 0).toLocaleString("en");
    facts({
      height: `${(box.max.y - box.min.y).toFixed(2)} m`,
      triangles: count((geometry) => (geometry.index?.count ?? geometry.attributes.position.count) / 3),
      vertices: count((geometry) => geometry.attributes.position.count),
    });
    say("");
    document.documentElement.dataset.shown = person.name;
  }

  function facts(values) {
    byId("facts").replaceChildren(
      ...Object.entries(values).flatMap(([name, value]) => {
        const term = document.createElement("dt");
        const text = document.createElement("dd");
        term.textContent = name;
        text.textContent = value;
        return [term, text];
      }),
    );
  }

  // ---- pictures and downloads

  function figure(source, caption) {
    const box = document.createElement("figure");
    const image = document.createElement("img");
    const text = document.createElement("figcaption");
    image.src = source;
    image.alt = text.textContent = caption;
    box.append(image, text);
    return box;
  }

  function link(text, name, address) {
    const anchor = document.createElement("a");
    anchor.textContent = text;
    anchor.download = name;
    anchor.href = address;
    return anchor;
  }

  function describe(person) {
    byId("name").textContent = person.title;
    const pictures = [[person.image, "image"], [person.normal, "normals"]].filter(([source]) => source);
    byId("pictures").replaceChildren(...pictures.map(([source, caption]) => figure(source, caption)));
    facts({});
    const links = pictures.map(([source, what]) => link(`${what}.png`, `${person.name}-${what}.png`, source));
    if (person.rigged) {
      if (!files.has(person.name)) files.set(person.name, new Blob([bytesOf(person.name)], { type: "model/gltf-binary" }));
      const blob = files.get(person.name);
      const size = `${(blob.size / 1e6).toFixed(1)} MB`;
      links.unshift(link(`${person.name}.glb (${size})`, `${person.name}.glb`, URL.createObjectURL(blob)));
    }
    byId("downloads").replaceChildren(...links);
  }

  async function choose(name) {
    const person = people.find((one) => one.name === name) ?? people.find((one) => one.rigged) ?? people[0];
    if (!person) return say("There is nobody here.");
    wanted = person.name;
    for (const button of byId("gallery").querySelectorAll("button"))
      button.setAttribute("aria-pressed", String(button.dataset.name === person.name));
    describe(person);
    try {
      await stage(person);
    } catch (error) {
      say(`${person.name}.glb cannot be shown: ${error.message ?? error}`);
      throw error;
    }
  }

  byId("gallery").addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (button) choose(button.dataset.name);
  });
  byId("turn").addEventListener("change", (event) => {
    if (controls) controls.autoRotate = event.target.checked;
  });
  for (const input of document.querySelectorAll("input[name=look], #bones, #wires"))
    input.addEventListener("change", () => shown && dress(shown));

  if (renderer) {
    new ResizeObserver(resize).observe(canvas);
    resize();
    renderer.setAnimationLoop(draw);
  }
  choose(decodeURIComponent(location.hash.slice(1)));
})();
