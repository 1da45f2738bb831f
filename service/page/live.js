// The live camera: pictures go to the service over a WebSocket, and boxes come back.
import { storedKey } from "./api.js";
import { make } from "./dom.js";
import { colour } from "./emotions.js";

const WIDTH = 640;

/** Draw boxes around the faces of a video element; without a connection nothing is drawn. Returns a function that stops it. */
export function watch(video, boxes) {
  const address = new URL("/stream", location.href);
  address.protocol = address.protocol.replace("http", "ws");
  const key = storedKey();
  const socket = new WebSocket(address, key ? ["mien", `mien.key.${key}`] : ["mien"]);
  const canvas = make("canvas");
  const open = () => socket.readyState === WebSocket.OPEN;
  const send = () => {
    const scale = Math.min(1, WIDTH / video.videoWidth);
    canvas.width = Math.round(video.videoWidth * scale);
    canvas.height = Math.round(video.videoHeight * scale);
    canvas.getContext("2d").drawImage(video, 0, 0, canvas.width, canvas.height);
    canvas.toBlob((blob) => open() && socket.send(blob), "image/jpeg", 0.8);
  };
  socket.onopen = send;
  socket.onmessage = ({ data }) => {
    if (!open()) return;
    boxes.replaceChildren(...JSON.parse(data).faces.map((face) => box(face, canvas)));
    send(); // the next picture is sent when an answer has come, so the service sets the pace
  };
  socket.onclose = () => boxes.replaceChildren();
  return () => socket.close();
}

function box(face, { width, height }) {
  const [x, y, w, h] = face.box;
  return make(
    "span",
    // The camera is shown as a mirror.
    { class: "box", vars: { "--x": 1 - (x + w) / width, "--y": y / height, "--w": w / width, "--h": h / height, "--colour": colour(face.emotion) } },
    make("span", { class: "box-name" }, face.known ? face.emotion : "no known expression"),
  );
}
