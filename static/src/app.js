import "htmx.org";
import { startLive } from "./live.js";
import { startCopying } from "./copy.js";

startLive();
startCopying();
